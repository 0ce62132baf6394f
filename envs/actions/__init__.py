"""Action spaces: mappings from policy outputs to actuator controls."""
