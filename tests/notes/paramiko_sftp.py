# The notes, chapter "paramiko": a file to the server and one from it. The order and the names are the notes'.
# Changed, for the tests only (lines marked "changed"):
#   - all from the command line: paramiko_sftp.py HOST PORT USER PUT_FROM PUT_TO GET_FROM GET_TO
#   - the password is the first line of standard input: an argument or the environment would show it to others
# Kept: connect() is given no key of the host and so checks none; docs/remote.md says what that means.
import sys  # changed

import paramiko

host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]  # changed
put_from, put_to, remove_path, local_path = sys.argv[4:8]  # changed
password = sys.stdin.readline().rstrip('\n')  # changed

transport = paramiko.Transport((host, port))  # changed: was ('120.92.84.249', 22)
transport.connect(username=user, password=password)  # changed: was 'root', 'xxx'
sftp = paramiko.SFTPClient.from_transport(transport)
# 将location.py 上传至服务器 /tmp/test.py
sftp.put(put_from, put_to)  # changed: was '/tmp/id_rsa', '/etc/test.rsa'
# 将remove_path 下载到本地 local_path
sftp.get(remove_path, local_path)  # changed: was 'remove_path', 'local_path'
transport.close()
