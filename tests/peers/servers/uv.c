/* The upper-case server with libuv, as in its guide's echo server: callbacks, one loop.
 *
 *     peer-uv ADDR BYTES
 *
 * All clients share one buffer, since a callback is done with it before the next one begins; uv_try_write() sends at once, and
 * what is left goes by uv_write(), with reading stopped until it is gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <uv.h>

static uv_loop_t *loop;
static char *buffer;
static size_t bytes;

struct rest { uv_write_t request; char bytes[]; };

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle, (void)suggested;
    *buf = uv_buf_init(buffer, bytes);
}

static void closed(uv_handle_t *handle) { free(handle); }

static void on_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buf);

static void written(uv_write_t *request, int status)
{
    uv_stream_t *client = request->handle;
    free(request);
    if (status == 0 && !uv_is_closing((uv_handle_t *)client)) uv_read_start(client, allocate, on_read);
}

static void on_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buf)
{
    if (n == 0) return;
    if (n < 0) { uv_close((uv_handle_t *)client, closed); return; }
    for (ssize_t i = 0; i < n; i++)
        buf->base[i] -= (unsigned char)(buf->base[i] - 'a') < 26 ? 32 : 0;
    uv_buf_t answer = uv_buf_init(buf->base, n);
    int sent = uv_try_write(client, &answer, 1);
    if (sent == n) return;
    if (sent < 0 && sent != UV_EAGAIN) { uv_close((uv_handle_t *)client, closed); return; }
    if (sent < 0) sent = 0;
    struct rest *rest = malloc(sizeof *rest + n - sent);
    memcpy(rest->bytes, buf->base + sent, n - sent);
    uv_buf_t left = uv_buf_init(rest->bytes, n - sent);
    uv_read_stop(client);
    uv_write(&rest->request, client, &left, 1, written);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0) return;
    uv_tcp_t *client = malloc(sizeof *client);
    uv_tcp_init(loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) < 0) { uv_close((uv_handle_t *)client, closed); return; }
    uv_tcp_nodelay(client, 1);
    uv_read_start((uv_stream_t *)client, allocate, on_read);
}

int main(int argc, char **argv)
{
    char *colon = argc == 3 ? strchr(argv[1], ':') : NULL;
    if (!colon) { fprintf(stderr, "peer-uv ADDR BYTES\n"); return 2; }
    *colon = 0;
    bytes = atoi(argv[2]);
    buffer = malloc(bytes);
    loop = uv_default_loop();
    struct sockaddr_in at;
    uv_ip4_addr(argv[1], atoi(colon + 1), &at);
    uv_tcp_t listener;
    uv_tcp_init(loop, &listener);
    uv_tcp_bind(&listener, (struct sockaddr *)&at, 0);
    int failed = uv_listen((uv_stream_t *)&listener, 1024, on_connection);
    if (failed) { fprintf(stderr, "listen: %s\n", uv_strerror(failed)); return 1; }
    int length = sizeof at;
    uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &length);
    printf("listening on tcp %s:%d\n", argv[1], ntohs(at.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
