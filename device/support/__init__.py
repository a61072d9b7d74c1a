"""What a person who helps needs to know of a bin, as one archive without secrets: one file for each part. Each part may fail; the others are kept."""
