"""A network applied to a volume: its views, in tiles, put together again."""
