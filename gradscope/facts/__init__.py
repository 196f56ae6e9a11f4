"""Facts: what no column of gradient norms can hold. Frozen, JSON-able, counted but never thinned. No torch."""
