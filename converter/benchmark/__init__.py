"""What a network costs on this computer, by format and runtime, and how right it is in each: time and accuracy are of the same file."""
