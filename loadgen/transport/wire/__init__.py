"""The wire transport: signed InvokeEndpoint calls over our own HTTP/1.1 connections."""
