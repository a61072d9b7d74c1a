"""Rendered waste items: models built from numbers, lit and photographed by Cycles, so that every picture is ours and has its label.

An item builder is a function of a random generator that returns a `RenderedItem`; it registers itself under a label and a kind (`catalogue`).
The families are modules: `cans`, `foil`, `bottles`, `cups`, `boxes`, `paper`, `wrappers`. They share surfaces (`materials`), geometry
(`meshes`, `creases`), printed matter (`artwork`, `prints`) and the act of putting an item down (`laying`). `scene` holds light and camera,
`matte` turns renders into pictures with alpha, `cutouts` is the command.

Lengths are in decimetres: one Blender unit is 10 cm. Colours are sRGB, 0..255, until a material takes them.

Rendering needs Blender's Python module, which exists for one Python version per release: `pip install "bpy==4.2.*" pillow scipy` on
Python 3.11. bpy is under the GPL (version 2 or later); these modules are under Apache-2.0, which version 3 of it admits.
The pictures are not derived from either. Nothing on the device imports this package.
"""
