//! Durable state behind one trait of whole intents.
