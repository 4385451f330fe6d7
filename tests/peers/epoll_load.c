/* The least that a closed-loop load generator does: epoll, one message in flight per connection. No answer is compared, no time is
 * taken, nothing is counted but answers. What `waitcopy load` costs beside it is what it adds: tests/peers/load.rs.
 *
 *     cc -O2 -o epoll_load epoll_load.c && ./epoll_load PORT CONNECTIONS SIZE REQUESTS
 *
 * Prints the CPU time, user and system, in nanoseconds, that REQUESTS answers took after as many as a tenth of them. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
    if (!ok) { perror(what); exit(1); }
}

static long long cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 5) { fprintf(stderr, "usage: epoll_load PORT CONNECTIONS SIZE REQUESTS\n"); return 2; }
    struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int connections = atoi(argv[2]), size = atoi(argv[3]), one = 1;
    long requests = atol(argv[4]), warm = requests / 10, answers = 0;
    char *message = malloc(size), *buffer = malloc(65536);
    int *got = calloc(connections, sizeof *got), *fds = calloc(connections, sizeof *fds);
    for (int i = 0; i < size; i++) message[i] = 'a' + i % 26;

    int ep = epoll_create1(EPOLL_CLOEXEC);
    must(ep >= 0, "epoll_create1");
    for (int i = 0; i < connections; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(fds[i], (struct sockaddr *)&server, sizeof server) == 0, "connect");
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        must(fcntl(fds[i], F_SETFL, O_NONBLOCK) == 0, "fcntl");
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
        must(epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &event) == 0, "epoll_ctl");
    }
    for (int i = 0; i < connections; i++) must(send(fds[i], message, size, MSG_NOSIGNAL) == size, "send");

    long long begun = 0;
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(ep, events, 256, -1);
        must(ready >= 0, "epoll_wait");
        for (int e = 0; e < ready; e++) {
            int i = events[e].data.u32;
            ssize_t n = recv(fds[i], buffer, 65536, 0);
            must(n > 0, "recv");
            got[i] += n;
            if (got[i] < size) continue;
            got[i] = 0;
            if (++answers == warm) begun = cpu();
            if (answers == warm + requests) { printf("%lld\n", cpu() - begun); return 0; }
            must(send(fds[i], message, size, MSG_NOSIGNAL) == size, "send");
        }
    }
}
