"""Goals: what the body is to do. Imitating a motion is one, reaching a target another."""
