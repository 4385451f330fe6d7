# The notes, chapter "paramiko": log in by key, run a command. The order and the names are the notes'.
# Changed, for the tests only (lines marked "changed"):
#   - all from the command line: paramiko_key.py HOST PORT USER KEY [COMMAND]
#   - the output is written as it came; the notes decode it as UTF-8, which not every file is
import sys  # changed

import paramiko

host, port, user, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]  # changed
command = sys.argv[5] if len(sys.argv) > 5 else 'df'  # changed

private_key = paramiko.RSAKey.from_private_key_file(key)  # changed: was '/tmp/id_rsa'
# 创建SSH对象
ssh = paramiko.SSHClient()
# 允许连接不在know_hosts文件中的主机
ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
# 连接服务器
ssh.connect(hostname=host, port=port, username=user, pkey=private_key)  # changed: was 120.92.84.249, root
# 执行命令
stdin, stdout, stderr = ssh.exec_command(command)  # changed: was 'df'
# 获取命令结果
result = stdout.read()
sys.stdout.buffer.write(result)  # changed: was print(result.decode('utf-8'))
# 关闭连接
ssh.close()
