"""Work that outlives requests: a queue in the store, workers that lease from it, and who looks after them."""
