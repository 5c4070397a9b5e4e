// The physical limit: WebSocket handshakes, then ready-made frames to every connection by a bare loop of send().
// No rooms, no queue, no protocol: what any server on these sockets must at least spend. Sockets block while it sends.
// Commands on standard input, answers as JSON lines on standard output:
//   run SIZE ITEMS RATE SECONDS   a text frame of SIZE bytes with ITEMS items to all, RATE times a second
//   quit
// Usage: sendloop PORT (0: any; the first line says which)
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

enum { LISTENER = 0xfffffffe, COMMANDS = 0xfffffffd, LARGEST = 4 << 20 };

static int epoll, listener, *sockets, count, capacity;
static uint64_t mark;
static uint8_t frame[LARGEST + 16];

// One run of frames, while it lasts.
static struct {
  size_t size;
  int items;
  double rate;
  uint64_t ticks, ticked, sent, bytes, started, late;
  struct rusage usage;
} run;

static uint64_t microseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what) {
  fprintf(stderr, "sendloop: %s: %s\n", what, strerror(errno));
  exit(1);
}

// SHA-1 (FIPS 180-4) of a short text: the handshake's answer needs it.
static void sha1(const uint8_t *text, size_t size, uint8_t digest[20]) {
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  uint8_t block[128] = {0};
  size_t blocks = size + 9 <= 64 ? 1 : 2;
  if (size > 119) die("Sec-WebSocket-Key is too long");
  memcpy(block, text, size);
  block[size] = 0x80;
  block[blocks * 64 - 2] = (uint8_t)(size * 8 >> 8);
  block[blocks * 64 - 1] = (uint8_t)(size * 8);
  for (size_t b = 0; b < blocks; b++) {
    uint32_t w[80], a[5];
    for (int i = 0; i < 16; i++) {
      const uint8_t *p = block + b * 64 + i * 4;
      w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 80; i++) {
      uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
      w[i] = x << 1 | x >> 31;
    }
    memcpy(a, h, sizeof a);
    for (int i = 0; i < 80; i++) {
      uint32_t f = i < 20   ? (a[1] & a[2]) | (~a[1] & a[3])
                   : i < 40 ? a[1] ^ a[2] ^ a[3]
                   : i < 60 ? (a[1] & a[2]) | (a[1] & a[3]) | (a[2] & a[3])
                            : a[1] ^ a[2] ^ a[3];
      static const uint32_t k[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
      uint32_t next = (a[0] << 5 | a[0] >> 27) + f + a[4] + k[i / 20] + w[i];
      a[4] = a[3];
      a[3] = a[2];
      a[2] = a[1] << 30 | a[1] >> 2;
      a[1] = a[0];
      a[0] = next;
    }
    for (int i = 0; i < 5; i++) h[i] += a[i];
  }
  for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

static void base64(const uint8_t *bytes, size_t size, char *out) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < size; i += 3) {
    uint32_t three = (uint32_t)bytes[i] << 16;
    if (i + 1 < size) three |= (uint32_t)bytes[i + 1] << 8;
    if (i + 2 < size) three |= bytes[i + 2];
    *out++ = letters[three >> 18];
    *out++ = letters[three >> 12 & 63];
    *out++ = i + 1 < size ? letters[three >> 6 & 63] : '=';
    *out++ = i + 2 < size ? letters[three & 63] : '=';
  }
  *out = 0;
}

static void handshake(int fd) {
  char request[8192], text[256], accept[32], answer[512];
  uint8_t digest[20];
  struct timeval wait = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  ssize_t n = recv(fd, request, sizeof request - 1, 0);
  if (n <= 0) {
    close(fd);
    return;
  }
  request[n] = 0;
  char *key = strcasestr(request, "sec-websocket-key:");
  if (!key) {
    close(fd);
    return;
  }
  key += strlen("sec-websocket-key:");
  key += strspn(key, " ");
  snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)strcspn(key, "\r\n"), key);
  sha1((uint8_t *)text, strlen(text), digest);
  base64(digest, sizeof digest, accept);
  int length = snprintf(answer, sizeof answer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n\r\n",
                        accept);
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (send(fd, answer, (size_t)length, MSG_NOSIGNAL) != length) {
    close(fd);
    return;
  }
  if (count == capacity) {
    capacity = capacity ? capacity * 2 : 1024;
    sockets = realloc(sockets, sizeof *sockets * (size_t)capacity);
  }
  sockets[count] = fd;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)count++};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// Makes a frame like the gateway's, with the marks of the items and the current time; returns the number of its bytes.
static size_t make_frame(size_t size, int items) {
  char *text = (char *)frame + 10;
  size_t at = 0, tail = 3;
  at += (size_t)sprintf(text + at, "{\"type\":\"PUSH\",\"data\":{\"room\":\"live\",\"items\":[");
  uint64_t now = microseconds();
  for (int i = 0; i < items; i++) {
    size_t goal = (size - tail - at) / (size_t)(items - i) + at;
    at += (size_t)sprintf(text + at, "%s{\"@\":%lu,\"t\":%lu,\"x\":\"", i ? "," : "", ++mark, now);
    if (goal > at + 2) {
      memset(text + at, 'x', goal - at - 2);
      at = goal - 2;
    }
    at += (size_t)sprintf(text + at, "\"}");
  }
  at += (size_t)sprintf(text + at, "]}}");
  uint8_t *head = frame + 10 - (at < 126 ? 2 : at < 65536 ? 4 : 10);
  uint8_t *p = head;
  *p++ = 0x81;
  if (at < 126) *p++ = (uint8_t)at;
  else if (at < 65536) *p++ = 126, *p++ = (uint8_t)(at >> 8), *p++ = (uint8_t)at;
  else {
    *p++ = 127;
    for (int i = 7; i >= 0; i--) *p++ = (uint8_t)((uint64_t)at >> i * 8);
  }
  size_t whole = (size_t)((uint8_t *)text + at - head);
  memmove(frame, head, whole);
  return whole;
}

static void broadcast(void) {
  size_t size = make_frame(run.size, run.items);
  for (int i = 0; i < count; i++) {
    if (sockets[i] < 0) continue;
    if (send(sockets[i], frame, size, MSG_NOSIGNAL) != (ssize_t)size) continue;
    run.sent++;
    run.bytes += size;
  }
}

static double seconds_of(struct timeval after, struct timeval before) {
  return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_usec - before.tv_usec) / 1e6;
}

static void finish_run(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double user = seconds_of(usage.ru_utime, run.usage.ru_utime), system = seconds_of(usage.ru_stime, run.usage.ru_stime);
  double frames = run.sent ? (double)run.sent : 1;
  printf("{\"event\":\"done\",\"frames\":%lu,\"bytes\":%lu,\"items\":%lu,\"lastMark\":%lu,\"seconds\":%.6f,"
         "\"lateMs\":%.3f,\"user\":%.6f,\"system\":%.6f,\"userPerFrameUs\":%.3f,\"systemPerFrameUs\":%.3f}\n",
         run.sent, run.bytes, run.sent * (uint64_t)run.items, mark, (double)(microseconds() - run.started) / 1e6,
         (double)run.late / 1e3, user, system, user / frames * 1e6, system / frames * 1e6);
  fflush(stdout);
  run.ticks = 0;
}

static void command(char *line) {
  unsigned long size;
  int items;
  double rate, seconds;
  if (sscanf(line, "run %lu %d %lf %lf", &size, &items, &rate, &seconds) == 4 && size <= LARGEST && items > 0) {
    memset(&run, 0, sizeof run);
    run.size = size;
    run.items = items;
    run.rate = rate;
    run.ticks = (uint64_t)(rate * seconds + 0.5);
    if (run.ticks == 0) run.ticks = 1;
    run.started = microseconds();
    getrusage(RUSAGE_SELF, &run.usage);
  } else if (!strncmp(line, "quit", 4)) exit(0);
  else fprintf(stderr, "sendloop: unknown command: %s\n", line);
}

static void read_commands(void) {
  static char line[256];
  static size_t length;
  ssize_t n = read(0, line + length, sizeof line - 1 - length);
  if (n <= 0) exit(0);
  length += (size_t)n;
  line[length] = 0;
  char *newline = strchr(line, '\n');
  if (!newline) return;
  *newline = 0;
  length = 0;
  command(line);
}

// Sends the frames that are due; returns ms until the next frame, or -1.
static int tick(void) {
  if (!run.ticks) return -1;
  if (run.ticked == run.ticks) {
    finish_run();
    return -1;
  }
  // A frame is due at the end of the period whose items it holds.
  uint64_t due = run.started + (uint64_t)((double)(run.ticked + 1) * 1e6 / run.rate), now = microseconds();
  if (now < due) return (int)((due - now) / 1000);
  if (now - due > run.late) run.late = now - due;
  run.ticked++;
  broadcast();
  return 0;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  epoll = epoll_create1(0);
  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
  socklen_t size = sizeof address;
  if (inet_pton(AF_INET, argc > 2 ? argv[2] : "127.0.0.1", &address.sin_addr) != 1) die("the address");
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listen");
  getsockname(listener, (struct sockaddr *)&address, &size);
  printf("{\"event\":\"listening\",\"port\":%d}\n", ntohs(address.sin_port));
  fflush(stdout);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = COMMANDS};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
  event.data.u32 = LISTENER;
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  static struct epoll_event events[512];
  static uint8_t ignored[4096];
  for (;;) {
    int n = epoll_wait(epoll, events, 512, tick());
    for (int i = 0; i < n; i++) {
      uint32_t who = events[i].data.u32;
      if (who == COMMANDS) read_commands();
      else if (who == LISTENER) {
        for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) handshake(fd);
      } else if (recv(sockets[who], ignored, sizeof ignored, MSG_DONTWAIT) == 0) {
        close(sockets[who]);
        sockets[who] = -1;
      }
    }
  }
}
