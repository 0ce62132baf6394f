"""From a policy's action to the control of every actuator."""
