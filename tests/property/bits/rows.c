/* The kernel as a program, for compilers and processors that Python here does not run on.

   For each block of windows on standard input, it writes the states to standard output. program.py
   writes and reads them. */

#include "../../../core/c/kernel.c"

#include <stdio.h>

int64_t use_lanes(int64_t most);

static int take(void *into, size_t size, int64_t count) {
  return fread(into, size, (size_t)count, stdin) == (size_t)count;
}

static void *space_for(int64_t count, size_t size) {
  void *space = malloc((size_t)count * size);
  if (space == NULL) exit(NO_MEMORY);
  return space;
}

int main(void) {
  struct {
    int64_t lanes, rows, n;
    struct theta theta;
  } head;
  while (take(&head, sizeof head, 1)) {
    struct theta *theta = &head.theta;
    int64_t *trend_windows = space_for(theta->trends, sizeof *trend_windows);
    double *shares = space_for(theta->trends, sizeof *shares);
    double *windows = space_for(head.rows * head.n, sizeof *windows);
    struct row *out = space_for(head.rows, sizeof *out);
    if (!take(trend_windows, sizeof *trend_windows, theta->trends) ||
        !take(shares, sizeof *shares, theta->trends) ||
        !take(windows, sizeof *windows, head.rows * head.n))
      return 1;
    theta->trend_windows = trend_windows;
    theta->trend_shares = shares;
    use_lanes(head.lanes);
    enum outcome outcome = state_rows(windows, head.rows, head.n, theta, out);
    if (outcome != DONE) return 1;
    fwrite(out, sizeof *out, (size_t)head.rows, stdout);
    fflush(stdout);
    free(trend_windows);
    free(shares);
    free(windows);
    free(out);
  }
  return 0;
}
