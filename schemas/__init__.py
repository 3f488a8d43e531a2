"""The Avro schemas, as data: a folder per subject, a file per version."""
