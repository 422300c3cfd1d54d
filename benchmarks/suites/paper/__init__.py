"""The PAM paper's table and its like: methods against methods, at equal accuracy, on real images."""
