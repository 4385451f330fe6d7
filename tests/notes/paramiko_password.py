# The notes, chapter "paramiko": log in by password, run a command. The order and the names are the notes'.
# Changed, for the tests only (lines marked "changed"):
#   - host, port, user and command from the command line: paramiko_password.py HOST PORT USER [COMMAND]
#   - the password is the first line of standard input: an argument or the environment would show it to others
#   - the output is written as it came; the notes decode it as UTF-8, which not every file is
import sys  # changed

import paramiko

host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]  # changed
command = sys.argv[4] if len(sys.argv) > 4 else 'df'  # changed
password = sys.stdin.readline().rstrip('\n')  # changed

# 创建SSH对象
ssh = paramiko.SSHClient()
# 允许连接不在know_hosts文件中的主机
ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
# 连接服务器
ssh.connect(hostname=host, port=port, username=user, password=password)  # changed: was 120.92.84.249, root, xxx
# 执行命令
stdin, stdout, stderr = ssh.exec_command(command)  # changed: was 'df'
# 获取命令结果
result = stdout.read()
sys.stdout.buffer.write(result)  # changed: was print(result.decode('utf-8'))
# 关闭连接
ssh.close()
