"""Where the bundled model comes from: its training text, its training, its measurement and its card.

Beside the package and not in the wheel, which holds the trained model (`attnent/tiny/model`).
"""
