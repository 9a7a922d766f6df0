"""The methods: one file a method or family."""
