// The matrix product's register tile, and the loop of tiles over rows.
#include "cpu/gemm.h"

namespace fastseq {
namespace FASTSEQ_TARGET {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int registers = 32;
#else
constexpr int registers = 16;
#endif

// Rows of a tile of `vectors` columns: sums, one row of B and one broadcast fit the registers.
constexpr int tile_rows(int vectors) {
  return registers == 32 ? (vectors == 4   ? 6
                            : vectors == 3 ? 8
                            : vectors == 2 ? 10
                                           : 12)
                         : (vectors == 4   ? 3
                            : vectors == 3 ? 4
                            : vectors == 2 ? 6
                                           : 8);
}

// Steps of k in one turn of the loop. Where another process shares the core, half its instructions a cycle
// are ours: those of the loop itself then count. GCC makes poor code of more, and of more than one in tiles
// of 3.
constexpr int steps_at_once(int vectors) { return registers == 16 && vectors % 2 == 0 ? 2 : 1; }

// What one pass over rows reads of B at most: it stays in the first level of cache while all rows use it.
constexpr std::ptrdiff_t pass_bytes = FASTSEQ_VECTOR_BYTES == 64 ? 24576 : 16384;
constexpr std::ptrdiff_t line_bytes = 64;

std::ptrdiff_t smaller(std::ptrdiff_t a, std::ptrdiff_t b) { return a < b ? a : b; }

// Standalone and not inlined: GCC then keeps the sums in registers.
template <class T, int Rows, int Vectors, bool Transposed>
FASTSEQ_OUTLINE void product_tile(const Product<T>& p, std::ptrdiff_t first_row) {
  using V = Vec<T>;
  using Native = typename V::Native;
  constexpr int unroll = steps_at_once(Vectors);
  Native sums[Rows * Vectors];
  if (p.init) {
    const T* init = p.init + first_row * p.init_row;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v)
        sums[r * Vectors + v] = V::load(init + r * p.init_row + v * p.init_vector).v;
  } else {
#pragma GCC unroll 48
    for (int i = 0; i < Rows * Vectors; ++i) sums[i] = Native{};
  }
  const std::ptrdiff_t b_row = p.b_row;
  const bool lead = !Transposed && p.lead_depth > 0;
  const T* b = lead ? p.lead_b : p.b;
  for (std::ptrdiff_t block = lead ? -1 : 0; block < p.blocks; ++block) {
    const bool first = block < 0;
    const std::ptrdiff_t a_row = first ? p.lead_row : p.a_row, a_step = Transposed ? a_row : 1;
    const T* a = (first ? p.lead_a : p.a + block * p.a_block) + first_row * (Transposed ? 1 : a_row);
    std::ptrdiff_t k = first ? p.lead_depth : p.depth;
    for (; k >= unroll; k -= unroll) {
#pragma GCC unroll 4
      for (int i = 0; i < unroll; ++i) {
        product_step<T, Rows, Vectors, Transposed>(a, a_row, b, sums);
        a += a_step;
        b += b_row;
      }
    }
    for (; k > 0; --k) {
      product_step<T, Rows, Vectors, Transposed>(a, a_row, b, sums);
      a += a_step;
      b += b_row;
    }
    if (first) b = p.b;
  }
  T* c = p.c + first_row * p.c_row;
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) V(sums[r * Vectors + v]).store(c + r * p.c_row + v * p.c_vector);
}

// Calls the tile of exactly `rows` rows (1 <= rows <= Rows).
template <class T, int Rows, int Vectors, bool Transposed>
FASTSEQ_INLINE void product_tile_of(const Product<T>& p, std::ptrdiff_t first_row, int rows) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return product_tile_of<T, Rows - 1, Vectors, Transposed>(p, first_row, rows);
  }
  product_tile<T, Rows, Vectors, Transposed>(p, first_row);
}

template <class T, int Vectors, bool Transposed>
void product_rows(const Product<T>& p) {
  constexpr int most = tile_rows(Vectors);
  // Even tiles: 16 rows in tiles of at most 6 are 6 + 5 + 5.
  std::ptrdiff_t tiles = (p.rows + most - 1) / most;
  // What the next pass reads of B is fetched meanwhile, a part of it before each tile. Requests between the
  // steps of k cost more than they save where another process shares the core.
  const char* ahead = reinterpret_cast<const char*>(p.next_b);
  std::ptrdiff_t ahead_lines = p.next_b ? pass_bytes / line_bytes : 0;
  for (std::ptrdiff_t row = 0; row < p.rows; --tiles) {
    const int rows = static_cast<int>((p.rows - row + tiles - 1) / tiles);
    for (std::ptrdiff_t lines = (ahead_lines + tiles - 1) / tiles; lines > 0; --lines, --ahead_lines) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += line_bytes;
    }
    product_tile_of<T, most, Vectors, Transposed>(p, row, rows);
    row += rows;
  }
}

template <class T>
void product_pass(const Product<T>& p, int vectors) {
  if (p.a_transposed) {
    switch (vectors) {
      case 1:
        return product_rows<T, 1, true>(p);
      case 2:
        return product_rows<T, 2, true>(p);
      case 3:
        return product_rows<T, 3, true>(p);
      default:
        return product_rows<T, 4, true>(p);
    }
  }
  switch (vectors) {
    case 1:
      return product_rows<T, 1, false>(p);
    case 2:
      return product_rows<T, 2, false>(p);
    case 3:
      return product_rows<T, 3, false>(p);
    default:
      return product_rows<T, 4, false>(p);
  }
}

}  // namespace

template <class T>
void product(Product<T> p, int vectors) {
  const std::ptrdiff_t most = pass_bytes / (vectors * FASTSEQ_VECTOR_BYTES);
  const Product<T> all = p;
  const bool few = all.rows <= 2 * tile_rows(vectors), short_lead = all.lead_depth <= most / 4;
  if (few || (all.blocks * all.depth <= most && (short_lead || all.lead_depth + all.depth <= most)))
    return product_pass(all, vectors);
  // Each pass starts from the sums of the one before, and has the B of the one after it fetched.
  const auto pass = [&](const T* a, const T* b, std::ptrdiff_t depth, const T* next_b) {
    p.a = a;
    p.b = b;
    p.depth = depth;
    p.next_b = all.next_b ? next_b : nullptr;
    product_pass(p, vectors);
    p.lead_depth = 0;
    p.init = p.c;
    p.init_row = p.c_row;
    p.init_vector = p.c_vector;
  };
  if (!short_lead) {
    p.lead_depth = 0;
    p.blocks = 1;
    p.a_row = all.lead_row;
    for (std::ptrdiff_t k = 0, depth = 0; k < all.lead_depth; k += depth) {
      depth = smaller(most, all.lead_depth - k);
      const T* b = all.lead_b + k * all.b_row;
      pass(all.lead_a + k, b, depth, k + depth < all.lead_depth ? b + depth * all.b_row : all.b);
    }
    p.a_row = all.a_row;
  }
  const T* b = all.b;
  const std::ptrdiff_t block_step = all.depth < most ? most / all.depth : 1;
  for (std::ptrdiff_t block = 0; block < all.blocks; block += p.blocks) {
    p.blocks = smaller(block_step, all.blocks - block);
    for (std::ptrdiff_t k = 0, depth = 0; k < all.depth; k += depth) {
      depth = smaller(most, all.depth - k);
      const T* after = b + p.blocks * depth * all.b_row;
      const bool last = block + p.blocks == all.blocks && k + depth == all.depth;
      pass(all.a + block * all.a_block + (all.a_transposed ? k * all.a_row : k), b, depth,
           last ? all.next_b : after);
      b = after;
    }
  }
}

template void product<float>(Product<float> p, int vectors);
template void product<double>(Product<double> p, int vectors);

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
