"""`gradscope demo`: the tutorial's network on real images, healthy, and then with the mistakes people make with it."""
