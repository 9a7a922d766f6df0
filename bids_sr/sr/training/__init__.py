"""Training: patches, losses and one loop for every learner."""
