/* The benchmark's upstream: far faster than what is measured, so that it is not what is measured.
 *
 * upstream PORT MODEL=FILE...   answers every request on 127.0.0.1:PORT with the reply of the model that
 * the body names ("/stream" appended where it says "stream": true); the first reply answers all others.
 * A FILE is one line "PACE_US CUT N LENGTH..." and then N frames of raw HTTP, sent PACE_US apart.
 * One thread, epoll, keep-alive. Runs until it is told to end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REPLIES = 32, MAX_FDS = 16384, MAX_REQUEST = 1 << 20, QUEUE = 1 << 16 };

struct frame { const char *data; size_t length; };
struct reply { char name[64]; uint64_t pace_ns; int cut; int n; struct frame *frames; };
struct conn {
    int open; uint32_t generation;
    char *in; size_t have, room;
    const struct reply *reply;          /* being sent, or NULL */
    int frame; size_t sent;             /* the next frame, and how much of it has gone */
};
/* All paces are the same, so a first-in first-out queue is ordered by the time that is due. */
struct due { uint64_t at; int fd; uint32_t generation; };

static struct reply replies[MAX_REPLIES];
static int n_replies;
static struct conn conns[MAX_FDS];
static struct due queue[QUEUE];
static uint32_t head, tail;
static int poller, timer;

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void load(char *argument) {
    struct reply *r = &replies[n_replies++];
    char *path = strchr(argument, '=');
    unsigned long pace;
    if (!path || n_replies > MAX_REPLIES) { fprintf(stderr, "MODEL=FILE expected: %s\n", argument); exit(2); }
    *path++ = 0;
    snprintf(r->name, sizeof r->name, "%s", argument);
    FILE *f = fopen(path, "rb");
    if (!f || fscanf(f, "%lu %d %d", &pace, &r->cut, &r->n) != 3) fail(path);
    r->pace_ns = pace * 1000u;
    r->frames = calloc((size_t)r->n, sizeof *r->frames);
    for (int i = 0; i < r->n; i++) if (fscanf(f, "%zu", &r->frames[i].length) != 1) fail(path);
    fgetc(f);
    for (int i = 0; i < r->n; i++) {
        char *data = malloc(r->frames[i].length);
        if (fread(data, 1, r->frames[i].length, f) != r->frames[i].length) fail(path);
        r->frames[i].data = data;
    }
    fclose(f);
}

static void drop(int fd) {
    struct conn *c = &conns[fd];
    c->open = 0;
    c->generation++;
    c->reply = NULL;
    c->have = 0;
    close(fd);
}

static void wait_for(int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e);
}

static void arm(void) {
    struct itimerspec t = {0};
    if (head != tail) {
        uint64_t at = queue[head % QUEUE].at;
        t.it_value.tv_sec = (time_t)(at / 1000000000u);
        t.it_value.tv_nsec = (long)(at % 1000000000u);
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void later(int fd, uint64_t at) {
    int was_empty = head == tail;
    if (tail - head == QUEUE) { drop(fd); return; }
    queue[tail++ % QUEUE] = (struct due){at, fd, conns[fd].generation};
    if (was_empty) arm();
}

/* Sends the frame that is due, or what is left of it. */
static void send_frame(int fd, uint64_t at) {
    struct conn *c = &conns[fd];
    const struct frame *f = &c->reply->frames[c->frame];
    ssize_t n = send(fd, f->data + c->sent, f->length - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { drop(fd); return; }
    if (n > 0) c->sent += (size_t)n;
    if (c->sent < f->length) { wait_for(fd, EPOLLIN | EPOLLOUT); return; }
    c->sent = 0;
    if (++c->frame < c->reply->n) { later(fd, at + c->reply->pace_ns); return; }
    if (c->reply->cut) { drop(fd); return; }
    c->reply = NULL;
}

static const char *value_of(const char *body, size_t length, const char *key) {
    const char *p = memmem(body, length, key, strlen(key));
    if (!p) return NULL;
    for (p += strlen(key); p < body + length && (*p == ' ' || *p == ':'); p++) {}
    return p < body + length ? p : NULL;
}

static const struct reply *choose(const char *body, size_t length) {
    char name[64] = "";
    const char *model = value_of(body, length, "\"model\""), *stream = value_of(body, length, "\"stream\"");
    const char *end = model && *model == '"' ? memchr(model + 1, '"', (size_t)(body + length - model - 1)) : NULL;
    if (!end) return &replies[0];
    int streams = stream && body + length - stream >= 4 && !memcmp(stream, "true", 4);
    snprintf(name, sizeof name, "%.*s%s", (int)(end - model - 1), model + 1, streams ? "/stream" : "");
    for (int i = 0; i < n_replies; i++) if (!strcmp(replies[i].name, name)) return &replies[i];
    return &replies[0];
}

/* The length of the whole request that stands at the start of the buffer; 0 while it is not all there. */
static size_t whole(struct conn *c, const char **body) {
    char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!end) return 0;
    *body = end + 4;
    size_t length = 0, before = (size_t)(end + 4 - c->in);
    for (char *line = c->in; line < end; line = (char *)memmem(line, (size_t)(end + 2 - line), "\r\n", 2) + 2) {
        if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
        if (!strncasecmp(line, "transfer-encoding:", 18)) {
            char *last = memmem(end + 2, c->have - before + 2, "\r\n0\r\n\r\n", 7);
            return last ? (size_t)(last + 7 - c->in) : 0;
        }
    }
    return c->have >= before + length ? before + length : 0;
}

static void receive(int fd) {
    struct conn *c = &conns[fd];
    if (c->have + 1 >= c->room) {
        if (c->room >= MAX_REQUEST) { drop(fd); return; }
        c->room = c->room ? c->room * 2 : 8192;
        c->in = realloc(c->in, c->room);
    }
    ssize_t n = recv(fd, c->in + c->have, c->room - c->have - 1, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(fd); return; }
    if (n < 0) return;
    c->have += (size_t)n;
    c->in[c->have] = 0;
    const char *body;
    size_t length = c->reply ? 0 : whole(c, &body);
    if (!length) return;
    c->reply = choose(body, (size_t)(c->in + length - body));
    c->frame = 0;
    memmove(c->in, c->in + length, c->have - length);
    c->have -= length;
    send_frame(fd, now());
}

static void send_due(void) {
    uint64_t expirations, t = now();
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer");
    while (head != tail && queue[head % QUEUE].at <= t) {
        struct due d = queue[head++ % QUEUE];
        struct conn *c = &conns[d.fd];
        if (!c->open || c->generation != d.generation || !c->reply) continue;
        send_frame(d.fd, d.at);
    }
    arm();
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MAX_FDS) { close(fd); continue; }
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[fd].open = 1;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) { fprintf(stderr, "usage: upstream PORT MODEL=FILE...\n"); return 2; }
    for (int i = 2; i < argc; i++) load(argv[i]);
    signal(SIGPIPE, SIG_IGN);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) fail("listen");
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int own[] = {listener, timer};
    for (int i = 0; i < 2; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = own[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, own[i], &e);
    }
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) accept_all(listener);
            else if (fd == timer) send_due();
            else {
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(fd);
                if (events[i].events & EPOLLOUT && conns[fd].open) {
                    wait_for(fd, EPOLLIN);
                    if (conns[fd].reply) send_frame(fd, now());
                }
            }
        }
    }
}
