"""A server that ends its channels in ways sshd and dropbear never do: paramiko's server side, on a free port.

Any login by a key gets in. A command names what becomes of it: `unknown` closes the channel and tells of no exit, `status N`
and `signal NAME` tell that, `refuse` is refused, `eof` ends the output and then the connection.
"""

import socket
import sys
import threading

import paramiko


class Server(paramiko.ServerInterface):
    def __init__(self, transport):
        self.transport = transport

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        words = command.decode().split()
        if words[0] == "refuse":
            return False
        threading.Thread(target=self.end, args=(channel, words), daemon=True).start()
        return True

    def end(self, channel, words):
        # The answer to the request goes out first: a packet of ours waits for the client's window or not at all.
        channel.sendall(b"said\n")
        if words[0] == "status":
            channel.send_exit_status(int(words[1]))
        if words[0] == "signal":
            message = paramiko.Message()
            message.add_byte(bytes([98]))
            message.add_int(channel.remote_chanid)
            message.add_string("exit-signal")
            message.add_boolean(False)
            message.add_string(words[1])
            message.add_boolean(False)
            message.add_string("")
            message.add_string("")
            self.transport._send_user_message(message)
        if words[0] == "eof":
            channel.shutdown_write()
            self.transport.close()
            return
        channel.close()


def serve(connection):
    transport = paramiko.Transport(connection)
    transport.add_server_key(paramiko.Ed25519Key(filename=sys.argv[1]))
    transport.start_server(server=Server(transport))


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
