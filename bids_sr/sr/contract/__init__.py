"""What every method and recipe keeps: results, weights and the errors of both."""
