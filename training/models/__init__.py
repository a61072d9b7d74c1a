"""Networks in Keras: backbones, heads, a small CNN to train from scratch, batch norm folding, fake quantization. Imports no other room."""
