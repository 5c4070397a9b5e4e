// Many WebSocket clients that come back as the SDK does: one thread, epoll. What is refused, reset or closed waits for a
// random moment of a window that doubles with each failure (client/backoff.ts), and tries again, for ever.
//   storm --targets ADDRESS:PORT,… --connections N [--sources K --source 127.1.0.1] [--room R] [--base MS] [--cap MS]
// Each attempt goes to one of the targets by chance, as a balancer would have it. Commands on standard input:
//   go    all connect at once
//   drop  all are cut (RST) and connect again at once
//   watch from now on the longest time that any of them waits for a frame is measured, and closures are counted anew
//   stat  counts
//   quit
// Answers are lines of JSON: `all` when everyone is in the room after `go` or `drop`, `stat` when asked.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TARGETS = 16, KEEP = 96, EVENTS = 1024, STATUSES = 600, STABLE_MS = 10000, TICK_MS = 10, READ_SIZE = 65536 };

typedef enum { IDLE, WAITING, CONNECTING, HANDSHAKE, OPEN } Phase;

typedef struct {
  int fd;
  uint8_t phase, joined, failures, opcode, headed, kept;
  uint8_t head[10];
  char keep[KEEP];  // the beginning of the HTTP answer, or of the frame under way
  uint64_t left;    // bytes of the frame that are still to come
  uint64_t until;   // when it tries again, ms
  uint64_t opened;  // ms
  uint64_t heard;   // when the last frame of text came, ms
} Client;

static struct sockaddr_in targets[TARGETS];
static int target_count, wanted, sources, joined, epoll;
static struct in_addr source;
static const char *room = "live";
static double base = 500, cap = 30000;
static Client *clients;
static uint64_t began, attempts, resets, frames, closes, silence, refused[STATUSES];
static int reported;
static uint8_t input[READ_SIZE];

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void die(const char *what) {
  fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void heard(Client *c, uint64_t now) {
  if (now - c->heard > silence) silence = now - c->heard;
  c->heard = now;
}

static void counts(const char *event) {
  uint64_t now = now_ms(), longest = silence;
  for (int i = 0; i < wanted; i++)
    if (clients[i].joined && now - clients[i].heard > longest) longest = now - clients[i].heard;
  printf("{\"event\":\"%s\",\"seconds\":%.3f,\"joined\":%d,\"attempts\":%lu,\"resets\":%lu,\"closes\":%lu,\"frames\":%lu,"
         "\"silence\":%lu,\"refused\":{",
         event, (double)(now - began) / 1000, joined, attempts, resets, closes, frames, longest);
  const char *comma = "";
  for (int status = 0; status < STATUSES; status++)
    if (refused[status]) printf("%s\"%d\":%lu", comma, status, refused[status]), comma = ",";
  puts("}}");
  fflush(stdout);
}

static void cut(Client *c) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(c->fd);
  c->fd = -1;
  if (c->joined) joined--;
  c->joined = 0;
}

// The SDK's full jitter: a random moment of a window that doubles with each failure.
static void come_back(Client *c, uint64_t now) {
  if (c->phase == OPEN && now - c->opened >= STABLE_MS) c->failures = 0;
  double window = base * (double)(1u << (c->failures < 16 ? c->failures : 16));
  if (c->failures < 255) c->failures++;
  cut(c);
  c->phase = WAITING;
  c->until = now + (uint64_t)(drand48() * (window < cap ? window : cap));
}

static void dial(Client *c, uint64_t now) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) die("socket");
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (sources) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    from.sin_addr.s_addr = htonl(ntohl(source.s_addr) + (uint32_t)((c - clients) % sources));
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) die("bind");
  }
  struct sockaddr_in *to = &targets[lrand48() % target_count];
  c->phase = CONNECTING;
  c->headed = c->kept = 0;
  c->left = 0;
  attempts++;
  if (connect(c->fd, (struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS) {
    resets++;
    come_back(c, now);
    return;
  }
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)(c - clients)};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static void say(Client *c, uint8_t opcode, const void *payload, size_t size) {
  uint8_t frame[6 + 125] = {0x80 | opcode, 0x80 | (uint8_t)size};  // a mask of zeros
  if (size > 125) size = 125;
  memcpy(frame + 6, payload, size);
  // Where it fails, the next read says so.
  (void)!send(c->fd, frame, 6 + size, MSG_NOSIGNAL);
}

static void connected(Client *c) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)(c - clients)};
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
  static const char request[] =
      "GET /connect HTTP/1.1\r\nHost: storm\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Protocol: pushcluster.v1\r\n\r\n";
  c->phase = HANDSHAKE;
  send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL);
}

static void frame_ended(Client *c) {
  frames++;
  if (c->opcode == 9) say(c, 10, c->keep, c->kept);
  if (c->joined && c->opcode == 1) heard(c, now_ms());
  if (!c->joined && c->opcode == 1 && memmem(c->keep, c->kept, "\"OK\"", 4)) {
    c->joined = 1;
    c->heard = now_ms();
    joined++;
  }
  c->headed = c->kept = 0;
}

// Takes what has come; false where the connection is over.
static int take(Client *c, const uint8_t *at, size_t size) {
  while (size > 0) {
    if (c->phase == HANDSHAKE) {
      // The answer's first line, then its end, which may be cut anywhere: the last four bytes are kept.
      if (c->kept < 12) {
        c->keep[c->kept++] = (char)*at;
        if (c->kept == 12 && memcmp(c->keep + 9, "101", 3)) {
          int status = atoi(c->keep + 9);
          refused[status > 0 && status < STATUSES ? status : 0]++;
          return 0;
        }
      } else {
        memmove(c->keep + 12, c->keep + 13, 3);
        c->keep[15] = (char)*at;
        if (!memcmp(c->keep + 12, "\r\n\r\n", 4)) {
          char join[100];
          int length = snprintf(join, sizeof join, "{\"type\":\"JOIN\",\"id\":1,\"data\":{\"room\":\"%s\"}}", room);
          c->phase = OPEN;
          c->opened = now_ms();
          c->kept = 0;
          say(c, 1, join, (size_t)length);
        }
      }
      at++, size--;
      continue;
    }
    if (c->left == 0) {
      c->head[c->headed++] = *at++, size--;
      if (c->headed < 2) continue;
      uint8_t length = c->head[1] & 127;
      int header = length == 126 ? 4 : length == 127 ? 10 : 2;
      if (c->headed < header) continue;
      c->opcode = c->head[0] & 15;
      c->left = length;
      if (length >= 126) c->left = 0;
      for (int i = 2; i < header; i++) c->left = c->left << 8 | c->head[i];
      if (c->opcode == 8) {
        closes++;
        return 0;
      }
      if (c->left == 0) frame_ended(c);
      continue;
    }
    size_t part = size < c->left ? size : (size_t)c->left;
    for (size_t i = 0; i < part && c->kept < KEEP; i++) c->keep[c->kept++] = (char)at[i];
    at += part, size -= part;
    c->left -= part;
    if (c->left == 0) frame_ended(c);
  }
  return 1;
}

static void happened(Client *c, uint32_t events, uint64_t now) {
  if (c->phase == CONNECTING) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
      resets++;
      come_back(c, now);
      return;
    }
    connected(c);
  }
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  ssize_t size = recv(c->fd, input, sizeof input, 0);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) resets++;
  if (size <= 0 || !take(c, input, (size_t)size)) come_back(c, now);
}

static void start_all(uint64_t now) {
  began = now;
  attempts = resets = frames = closes = 0;
  reported = 0;
  memset(refused, 0, sizeof refused);
  for (int i = 0; i < wanted; i++) {
    if (clients[i].fd >= 0) cut(&clients[i]);
    clients[i].failures = 0;
    clients[i].phase = WAITING;
    clients[i].until = now;
  }
}

static void obey(char *text, uint64_t now) {
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    if (!strcmp(line, "go") || !strcmp(line, "drop")) start_all(now);
    if (!strcmp(line, "watch")) {
      silence = resets = closes = 0;
      for (int i = 0; i < wanted; i++) clients[i].heard = now;
    }
    if (!strcmp(line, "stat")) counts("stat");
    if (!strcmp(line, "quit")) exit(0);
  }
}

static void read_targets(char *list) {
  for (char *one = strtok(list, ","); one && target_count < TARGETS; one = strtok(NULL, ",")) {
    char *colon = strchr(one, ':');
    if (!colon) die("a target is ADDRESS:PORT");
    *colon = 0;
    targets[target_count].sin_family = AF_INET;
    targets[target_count].sin_port = htons((uint16_t)atoi(colon + 1));
    if (!inet_aton(one, &targets[target_count].sin_addr)) die(one);
    target_count++;
  }
}

int main(int argc, char **argv) {
  inet_aton("127.1.0.1", &source);
  for (int i = 1; i + 1 < argc; i += 2) {
    char *value = argv[i + 1];
    if (!strcmp(argv[i], "--targets")) read_targets(value);
    else if (!strcmp(argv[i], "--connections")) wanted = atoi(value);
    else if (!strcmp(argv[i], "--sources")) sources = atoi(value);
    else if (!strcmp(argv[i], "--source")) inet_aton(value, &source);
    else if (!strcmp(argv[i], "--room")) room = value;
    else if (!strcmp(argv[i], "--base")) base = atof(value);
    else if (!strcmp(argv[i], "--cap")) cap = atof(value);
    else die(argv[i]);
  }
  if (!target_count || wanted < 1) die("--targets and --connections are needed");
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGPIPE, SIG_IGN);
  srand48(getpid());
  clients = calloc((size_t)wanted, sizeof *clients);
  for (int i = 0; i < wanted; i++) clients[i].fd = -1;
  epoll = epoll_create1(0);
  struct epoll_event commands = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &commands);
  puts("{\"event\":\"ready\"}");
  fflush(stdout);
  uint64_t looked = 0;
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, TICK_MS);
    uint64_t now = now_ms();
    for (int i = 0; i < count; i++) {
      if (events[i].data.u32 == UINT32_MAX) {
        ssize_t size = read(0, input, sizeof input - 1);
        if (size <= 0) exit(0);
        input[size] = 0;
        obey((char *)input, now);
        // Sockets of these events may be others by now.
        break;
      }
      Client *c = &clients[events[i].data.u32];
      if (c->fd >= 0) happened(c, events[i].events, now);
    }
    if (now - looked >= TICK_MS) {
      looked = now;
      for (int i = 0; i < wanted; i++)
        if (clients[i].phase == WAITING && clients[i].until <= now) dial(&clients[i], now);
    }
    if (!reported && began && joined == wanted) {
      reported = 1;
      counts("all");
    }
  }
}
