"""gradscope inside trainers: callbacks for Lightning and for Hugging Face, thin, over the same recording."""
