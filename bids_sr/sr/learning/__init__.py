"""Learning: pairs, losses and one loop for every learner."""
