"""Serves calls as grpcio offers it."""

import json

import grpc


async def serve(handlers):
    """Serves the calls of `bench.Peer`, and prints the port as one line of JSON."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Peer", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await server.wait_for_termination()
