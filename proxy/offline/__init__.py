"""Work on records and stored answers outside the request path: evaluation, reports, labelling, doctor."""
