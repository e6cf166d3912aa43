# MODE SERVER PORT OTHER_PORT OTHER_SOURCE: a pod with NET_ADMIN and NET_RAW takes part in a handshake with segments of its own making.
# Its kernel sees nothing of what the server answers, and so does not object.
#
# gone       the socket is closed while the server waits for the rest of the handshake, which these segments complete
# kept       the socket goes on connecting, and these segments take its place until the server's end is gone
# published  SYN segments like the socket's, whose own goes nowhere: from and to another port, from another address, the same, and the same
#            when the socket is closed
import socket, struct, subprocess, sys, time

mode, server, port, other_port, other_source = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
SYN, RST, PSH, ACK = 2, 4, 8, 16
MARK = 7
dropped = '' if mode == 'published' else 'tcp flags & rst == rst '
subprocess.run(['nft', f'''add table ip case
add chain ip case in {{ type filter hook input priority 0; }}
add chain ip case out {{ type filter hook output priority 0; }}
add rule ip case in ip saddr {server} drop
add rule ip case out ip daddr {server} meta mark != {MARK} {dropped}drop'''], check=True)
# It sees what comes before the rules do.
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.bind(('eth0', 0x0800))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)

def checksum(data):
    words = sum(struct.unpack(f'!{(len(data) + 1) // 2}H', data + b'\0' * (len(data) % 2)))
    words = (words >> 16) + (words & 0xffff)
    return ~(words + (words >> 16)) & 0xffff

def send(source, to, seq, ack, flags, data=b''):
    ends = socket.inet_aton(source[0]) + socket.inet_aton(server)
    tcp = struct.pack('!HHIIBBHHH', source[1], to, seq, ack, 5 << 4, flags, 65535, 0, 0)
    total = checksum(ends + struct.pack('!BBH', 0, 6, len(tcp) + len(data)) + tcp + data)
    tcp = tcp[:16] + struct.pack('!H', total) + tcp[18:]
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(tcp) + len(data), 0, 0, 64, 6, 0) + ends
    raw.sendto(ip + tcp + data, (server, 0))

def receive(seconds):
    """The next segment that the server sends to the socket: sequence number, acknowledgement, flags, data."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            packet = wire.recv(65535)
        except TimeoutError:
            break
        begin = (packet[0] & 15) * 4
        tcp = packet[begin:struct.unpack('!H', packet[2:4])[0]]
        if packet[9] == 6 and packet[12:16] == socket.inet_aton(server) and struct.unpack('!HH', tcp[:4]) == (port, own[1]):
            return *struct.unpack('!II', tcp[4:12]), tcp[13], tcp[(tcp[12] >> 4) * 4:]

def published():
    send(own, other_port, 1000, 0, SYN)
    send((own[0], own[1] ^ 1), port, 1000, 0, SYN)
    send((other_source, own[1]), port, 1000, 0, SYN)
    send(own, port, 1000, 0, SYN)
    print('answered', receive(3) is not None, flush=True)
    s.close()
    # The server's kernel waits no more for the rest of that handshake.
    send(own, port, 1001, 0, RST)
    time.sleep(.3)
    send(own, port, 100000, 0, SYN)

def take_part(seconds):
    """Completes the handshake, sends until the server's end is gone, and tells what came back."""
    theirs, seq, flags, _ = receive(5)
    assert flags & (SYN | ACK) == SYN | ACK, flags
    if mode == 'gone':
        s.close()
    ack, end, said = theirs + 1, time.monotonic() + seconds, set()
    send(own, port, seq, ack, ACK)
    while time.monotonic() < end:
        send(own, port, seq, ack, PSH | ACK, b'secret')
        answer = receive(.3)
        what = answer and ('reset' if answer[2] & RST else 'echoed' if answer[3] else None)
        if what and what not in said:
            print(what, flush=True)
            said.add(what)
        if what == 'reset':
            break
        if what == 'echoed':
            seq, ack = seq + 6, answer[0] + len(answer[3])
            send(own, port, seq, ack, ACK)
            time.sleep(.05)

s = socket.socket()
s.setblocking(False)
s.connect_ex((server, port))
own = s.getsockname()
if mode == 'published':
    published()
else:
    take_part(4 if mode == 'gone' else 40)
print('over', flush=True)
