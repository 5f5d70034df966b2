"""From a configuration to ms-swift: the base model, the training rows, the arguments."""
