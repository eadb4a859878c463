"""Answers compared by rules, where no judge is at hand: numbers, dates and names as people write them."""
