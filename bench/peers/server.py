"""A gRPC server as grpcio offers it: an empty call, a stream, and what is said to every stream.

Prints its port as one line of JSON. Messages are bytes, without protobuf, which flatters it.
"""

import asyncio

import grpc
from serving import serve

MESSAGE = bytes(75)


class Peer:
    def __init__(self):
        self.published = asyncio.Event()

    async def empty(self, request, context):
        return b""

    async def watch(self, request, context):
        while True:
            published = self.published
            yield MESSAGE
            await published.wait()

    async def publish(self, request, context):
        self.published.set()
        self.published = asyncio.Event()
        return b""


async def main():
    peer = Peer()
    await serve(
        {
            "Empty": grpc.unary_unary_rpc_method_handler(peer.empty),
            "Watch": grpc.unary_stream_rpc_method_handler(peer.watch),
            "Publish": grpc.unary_unary_rpc_method_handler(peer.publish),
        }
    )


asyncio.run(main())
