"""The measured counterpart of the remote, with paramiko: paramiko_client.py JOB HOST PORT USER KEY KNOWN_HOSTS [FROM TO | COUNT].

put and get copy one file; exec runs `true` COUNT times on one connection and prints the seconds that took."""
import sys
import time

import paramiko

job, host, port, user, key, known_hosts = sys.argv[1:7]
ssh = paramiko.SSHClient()
ssh.load_host_keys(known_hosts)
ssh.connect(hostname=host, port=int(port), username=user, allow_agent=False, look_for_keys=False,
            pkey=paramiko.Ed25519Key.from_private_key_file(key))
if job == 'exec':
    def run():
        stdin, stdout, stderr = ssh.exec_command('true')
        assert stdout.channel.recv_exit_status() == 0
    run()
    start = time.monotonic()
    for _ in range(int(sys.argv[7])):
        run()
    print(time.monotonic() - start)
else:
    sftp = ssh.open_sftp()
    # Both copy as paramiko does by itself: put in pieces of 32 KiB without waiting for each answer, get with all requests at once.
    {'put': sftp.put, 'get': sftp.get}[job](sys.argv[7], sys.argv[8])
ssh.close()
