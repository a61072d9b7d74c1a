"""What things look like: materials, prints, creases, meshes. Needs Blender where it builds them."""
