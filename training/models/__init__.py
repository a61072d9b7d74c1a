"""Networks in Keras: backbones, heads, the small network trained from scratch, batch-norm folding, fake quantization. Imports no other room."""
