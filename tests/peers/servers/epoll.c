/* The upper-case server as a plain epoll loop: the least that a C programmer would write and still lose nothing.
 *
 *     peer-epoll ADDR BYTES
 *
 * Level-triggered, one receive and one send per event; what the kernel does not take of an answer is kept, and the
 * client is then waited for to make room. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EVENTS = 512 };

/* The rest of an answer, by descriptor. */
static struct { char *bytes; size_t sent, length; } *rests;
static int set, listener;
static char *buffer;
static size_t bytes;

static void die(const char *what) { perror(what); exit(1); }

static void tell(int operation, int fd, unsigned interest)
{
    struct epoll_event event = { .events = interest, .data.fd = fd };
    if (epoll_ctl(set, operation, fd, &event) < 0) die("epoll_ctl");
}

static void end(int fd)
{
    free(rests[fd].bytes);
    rests[fd].bytes = NULL;
    close(fd);
}

static void admit(void)
{
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        tell(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* Sends what is kept. */
static void flush(int fd)
{
    char *from = rests[fd].bytes + rests[fd].sent;
    size_t length = rests[fd].length - rests[fd].sent;
    ssize_t sent = send(fd, from, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) { end(fd); return; }
    rests[fd].sent += sent;
    if ((size_t)sent < length) return;
    free(rests[fd].bytes);
    rests[fd].bytes = NULL;
    tell(EPOLL_CTL_MOD, fd, EPOLLIN);
}

static void attend(int fd)
{
    ssize_t n = recv(fd, buffer, bytes, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { end(fd); return; }
    for (ssize_t i = 0; i < n; i++)
        buffer[i] -= (unsigned char)(buffer[i] - 'a') < 26 ? 32 : 0;
    ssize_t sent = send(fd, buffer, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) { end(fd); return; }
    if (sent < 0) sent = 0;
    if (sent == n) return;
    rests[fd].length = n - sent;
    rests[fd].sent = 0;
    rests[fd].bytes = memcpy(malloc(n - sent), buffer + sent, n - sent);
    tell(EPOLL_CTL_MOD, fd, EPOLLOUT);
}

int main(int argc, char **argv)
{
    char *colon = argc == 3 ? strchr(argv[1], ':') : NULL;
    if (!colon) { fprintf(stderr, "peer-epoll ADDR BYTES\n"); return 2; }
    *colon = 0;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(colon + 1)) };
    inet_pton(AF_INET, argv[1], &at.sin_addr);
    bytes = atoi(argv[2]);
    buffer = malloc(bytes);
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    rests = calloc(most.rlim_cur, sizeof *rests);   /* untouched pages cost nothing */
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
    if (listen(listener, 1024) < 0) die("listen");
    socklen_t length = sizeof at;
    getsockname(listener, (struct sockaddr *)&at, &length);
    set = epoll_create1(EPOLL_CLOEXEC);
    tell(EPOLL_CTL_ADD, listener, EPOLLIN);
    printf("listening on tcp %s:%d\n", argv[1], ntohs(at.sin_port));
    fflush(stdout);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(set, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) admit();
            else if (rests[fd].bytes) flush(fd);
            else attend(fd);
        }
    }
}
