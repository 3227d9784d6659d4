"""Demonstrations in the formats of others: each becomes episodes as :mod:`rllib_mamql.data.episodes` has them."""
