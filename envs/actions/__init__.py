"""Action spaces: from a policy's numbers to the controls of actuators."""
