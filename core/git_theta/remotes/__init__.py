"""The stores of git remotes: where their packs lie, and what is pushed to and fetched from them."""
