"""Surfaces as Cycles sees them: coloured, printed, metal, glass, thin clear plastic."""

from dataclasses import dataclass

import bpy
import numpy as np
from PIL import Image

Colour = tuple[int, int, int]

ALUMINIUM: Colour = (214, 215, 217)
TINPLATE: Colour = (203, 202, 200)
BRASS: Colour = (222, 189, 112)


@dataclass(frozen=True, slots=True)
class Grain:
    """Fine relief. strength 0..1; scale: features per decimetre; stretch: per axis, below 1 draws features out; detail: octaves."""

    strength: float
    scale: float
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    detail: float = 4.0


def linear(colour: Colour) -> tuple[float, float, float]:
    """sRGB 0..255 to linear 0..1."""
    c = np.asarray(colour, float) / 255
    r, g, b = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(r), float(g), float(b)


@dataclass(frozen=True, slots=True)
class Reflection:
    """How a surface reflects: weights 0..1 of Blender's Principled BSDF. smears: how much roughness varies from spot to spot."""

    roughness: float = 0.5
    metallic: float = 0.0
    coat: float = 0.0
    specular: float = 0.5
    subsurface: float = 0.0
    smears: float = 0.0


MATT = Reflection()


def surface(
    rng: np.random.Generator,
    colour: Colour = (230, 230, 230),
    *,
    reflection: Reflection = MATT,
    picture: Image.Image | None = None,
    back: Colour | Image.Image | None = None,
    grain: Grain | None = None,
) -> bpy.types.Material:
    """An opaque surface. picture: printed on it in place of `colour`; back: the other side of a sheet."""
    material, tree, shader = _principled(linear(colour), reflection.roughness)
    inputs = shader.inputs
    inputs["Metallic"].default_value = reflection.metallic
    inputs["Coat Weight"].default_value = reflection.coat
    inputs["Coat Roughness"].default_value = 0.1
    inputs["Specular IOR Level"].default_value = reflection.specular
    if reflection.subsurface:
        inputs["Subsurface Weight"].default_value = reflection.subsurface
        inputs["Subsurface Radius"].default_value = (0.1, 0.1, 0.1)
    link = tree.links.new
    if picture is not None:
        link(_either_side(tree, _texture(tree, picture), back), inputs["Base Color"])
    elif back is not None:
        plain = tree.nodes.new("ShaderNodeRGB").outputs[0]
        plain.default_value = (*linear(colour), 1.0)
        link(_either_side(tree, plain, back), inputs["Base Color"])
    if grain is not None:
        link(_bump(tree, _noise(tree, rng, grain), grain.strength, 0.02), inputs["Normal"])
    if reflection.smears:
        rough = tree.nodes.new("ShaderNodeMapRange")
        for slot, value in zip(
            ("From Min", "From Max", "To Min", "To Max"),
            (0.3, 0.7, max(0.02, reflection.roughness - reflection.smears), reflection.roughness + reflection.smears),
            strict=True,
        ):
            rough.inputs[slot].default_value = value
        link(_noise(tree, rng, Grain(1, 9)), rough.inputs["Value"])
        link(rough.outputs[0], inputs["Roughness"])
    return material


def metal(rng: np.random.Generator, colour: Colour = ALUMINIUM, *, roughness: float = 0.24, grain: Grain | None = None) -> bpy.types.Material:
    """Bare metal. Sheet that was handled is never a mirror, so roughness starts where reflections blur."""
    return surface(rng, colour, reflection=Reflection(roughness=roughness, metallic=1.0, smears=0.08), grain=grain)


def glass(rng: np.random.Generator, tint: tuple[float, float, float]) -> bpy.types.Material:
    """Solid glass of a linear tint per surface passed, deeper where the wall is seen aslant.

    Light reaches what lies inside or below through it, dimmed, without caustics.
    """
    material, tree, shader = _principled(tint, 0.015)
    aslant = tree.nodes.new("ShaderNodeLayerWeight")
    aslant.inputs["Blend"].default_value = 0.35
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    straight, deep = ramp.color_ramp.elements
    straight.color, deep.color = (*tint, 1.0), (*(c**3.5 for c in tint), 1.0)
    tree.links.new(aslant.outputs["Facing"], ramp.inputs["Fac"])
    tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    shader.inputs["Transmission Weight"].default_value = 1.0
    shader.inputs["IOR"].default_value = 1.48
    tree.links.new(_bump(tree, _noise(tree, rng, Grain(1, 3, detail=1)), 0.05, 0.02), shader.inputs["Normal"])
    r, g, b = (0.85 * c**0.5 for c in tint)
    return _lets_light_through(material, shader.outputs[0], (r, g, b))


def clear_plastic(
    rng: np.random.Generator,
    tint: tuple[float, float, float] = (0.97, 0.98, 1.0),
    *,
    roughness: float = 0.08,
    haze: float = 0.06,
    gloss: float = 1.0,
    ripple: Grain | None = None,
) -> bpy.types.Material:
    """Thin clear sheet: what is behind shows unbent, edges turn glossy, and a little haze scatters. tint is linear, per sheet passed."""
    material = bpy.data.materials.new("clear plastic")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.remove(tree.nodes["Principled BSDF"])
    new, link = tree.nodes.new, tree.links.new
    ripple = ripple or Grain(0.15, 6, detail=2)
    normal = _bump(tree, _noise(tree, rng, ripple), ripple.strength, 0.05)

    through = new("ShaderNodeBsdfTransparent")
    through.inputs["Color"].default_value = (*tint, 1.0)
    front, behind = new("ShaderNodeBsdfDiffuse"), new("ShaderNodeBsdfTranslucent")
    for scatter in (front, behind):
        scatter.inputs["Color"].default_value = (*tint, 1.0)
    shine = new("ShaderNodeBsdfGlossy")
    shine.inputs["Roughness"].default_value = roughness
    shine.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    link(normal, shine.inputs["Normal"])

    edge = new("ShaderNodeFresnel")
    edge.inputs["IOR"].default_value = 1.5
    link(normal, edge.inputs["Normal"])
    how_glossy = new("ShaderNodeMath")
    how_glossy.operation, how_glossy.use_clamp = "MULTIPLY", True
    link(edge.outputs[0], how_glossy.inputs[0])
    how_glossy.inputs[1].default_value = 1.5 * gloss

    scattered = _mixed(tree, 0.5, front.outputs[0], behind.outputs[0])
    hazy = _mixed(tree, haze, through.outputs[0], scattered)
    sheen = _mixed(tree, how_glossy.outputs[0], hazy, shine.outputs[0])
    r, g, b = ((1 - 0.5 * haze) * 0.94 * c for c in tint)
    return _lets_light_through(material, sheen, (r, g, b))


def corrugated_edge(rng: np.random.Generator, colour: Colour) -> bpy.types.Material:
    """The cut edge of corrugated board: its flutes as a row of dark gaps."""
    material, tree, shader = _principled(linear(colour), 0.9)
    place = tree.nodes.new("ShaderNodeTexCoord")
    wave = tree.nodes.new("ShaderNodeTexWave")
    for slot, value in (("Scale", 8.0), ("Distortion", 1.2), ("Detail Scale", 3.0), ("Phase Offset", rng.uniform(0, 6))):
        wave.inputs[slot].default_value = value
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    dark, bright = ramp.color_ramp.elements
    r, g, b = linear(colour)
    dark.position, dark.color = 0.2, (0.45 * r, 0.42 * g, 0.4 * b, 1.0)
    bright.position, bright.color = 0.75, (r, g, b, 1.0)
    tree.links.new(place.outputs["Object"], wave.inputs["Vector"])
    tree.links.new(wave.outputs["Fac"], ramp.inputs["Fac"])
    tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    return material


def _principled(colour: tuple[float, float, float], roughness: float) -> tuple[bpy.types.Material, bpy.types.NodeTree, bpy.types.Node]:
    material = bpy.data.materials.new("surface")
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*colour, 1.0)
    shader.inputs["Roughness"].default_value = roughness
    return material, material.node_tree, shader


def _texture(tree: bpy.types.NodeTree, picture: Image.Image) -> bpy.types.NodeSocket:
    pixels = np.asarray(picture.convert("RGBA"), np.float32)[::-1] / 255
    height, width = pixels.shape[:2]
    image = bpy.data.images.new("print", width, height, alpha=True)
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image, node.extension = image, "EXTEND"
    return node.outputs["Color"]


def _either_side(tree: bpy.types.NodeTree, front: bpy.types.NodeSocket, back: Colour | Image.Image | None) -> bpy.types.NodeSocket:
    if back is None:
        return front
    side = tree.nodes.new("ShaderNodeNewGeometry")
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    factor, first, second = (next(s for s in mix.inputs if s.identifier == name) for name in ("Factor_Float", "A_Color", "B_Color"))
    tree.links.new(side.outputs["Backfacing"], factor)
    tree.links.new(front, first)
    if isinstance(back, Image.Image):
        tree.links.new(_texture(tree, back), second)
    else:
        second.default_value = (*linear(back), 1.0)
    return next(s for s in mix.outputs if s.identifier == "Result_Color")


def _noise(tree: bpy.types.NodeTree, rng: np.random.Generator, grain: Grain) -> bpy.types.NodeSocket:
    place, mapping, noise = (tree.nodes.new(f"ShaderNode{name}") for name in ("TexCoord", "Mapping", "TexNoise"))
    mapping.inputs["Location"].default_value = (rng.uniform(0, 50), rng.uniform(0, 50), 0)
    mapping.inputs["Scale"].default_value = grain.stretch
    noise.inputs["Scale"].default_value = grain.scale
    noise.inputs["Detail"].default_value = grain.detail
    tree.links.new(place.outputs["Object"], mapping.inputs["Vector"])
    tree.links.new(mapping.outputs[0], noise.inputs["Vector"])
    return noise.outputs["Fac"]


def _bump(tree: bpy.types.NodeTree, height: bpy.types.NodeSocket, strength: float, distance: float) -> bpy.types.NodeSocket:
    bump = tree.nodes.new("ShaderNodeBump")
    bump.inputs["Strength"].default_value = strength
    bump.inputs["Distance"].default_value = distance
    tree.links.new(height, bump.inputs["Height"])
    return bump.outputs[0]


def _mixed(
    tree: bpy.types.NodeTree, share: float | bpy.types.NodeSocket, first: bpy.types.NodeSocket, second: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    mix = tree.nodes.new("ShaderNodeMixShader")
    if isinstance(share, float):
        mix.inputs[0].default_value = share
    else:
        tree.links.new(share, mix.inputs[0])
    tree.links.new(first, mix.inputs[1])
    tree.links.new(second, mix.inputs[2])
    return mix.outputs[0]


def _lets_light_through(material: bpy.types.Material, look: bpy.types.NodeSocket, dimming: tuple[float, float, float]) -> bpy.types.Material:
    """Light and bounced light pass straight through; without this everything inside glass would be black, as caustics are off."""
    tree = material.node_tree
    ray, either, clear = (tree.nodes.new(f"ShaderNode{name}") for name in ("LightPath", "Math", "BsdfTransparent"))
    either.operation = "MAXIMUM"
    clear.inputs["Color"].default_value = (*dimming, 1.0)
    tree.links.new(ray.outputs["Is Shadow Ray"], either.inputs[0])
    tree.links.new(ray.outputs["Is Diffuse Ray"], either.inputs[1])
    out = _mixed(tree, either.outputs[0], look, clear.outputs[0])
    tree.links.new(out, tree.nodes["Material Output"].inputs["Surface"])
    return material
