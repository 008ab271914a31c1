"""The residual of a picture after the steps of a process, sent so that the whole stream decodes to the very pixels."""
