"""What a network looks at: Grad-CAM, guided backpropagation, and what its first layer sees."""
