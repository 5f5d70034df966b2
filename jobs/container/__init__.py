"""Jobs inside an image: which one, what they see of the node, how they come in."""
