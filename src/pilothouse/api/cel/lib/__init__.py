"""The functions, one library a file: each has FUNCTIONS, pairs of a signature and what carries it out."""
