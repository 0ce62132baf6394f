"""Goals: objectives of the body, such as imitating a motion or reaching a target."""
