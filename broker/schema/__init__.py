"""Between the model and the bytes on the wire: Avro schemas, their fixed ids, their compatibility."""
