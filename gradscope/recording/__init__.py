"""From events to rows: looks at the gradients around each call and hands finished rows to the record."""
