"""The numbered notebooks run headless, their pages, and the `attnent` command."""
