// SPDX-License-Identifier: MIT
/** Pictures of results: lines over n, both axes logarithmic. */
import { parse, type Spec, View } from 'vega'

export interface Picture {
  file: string
  title: string
  x: string
  y: string
  /** The name of the line that a result is a point of; none: it is not in the picture. */
  line(result: Point): string | undefined
}

interface Point {
  contender: string
  n: number
  value: number
  unit: string
}

export async function svg(picture: Picture, results: Point[]): Promise<string> {
  const values = results.flatMap((result) => {
    const line = picture.line(result)
    // There is no zero on a logarithmic axis.
    return line === undefined || result.value <= 0 ? [] : [{ ...result, line }]
  })
  const view = new View(parse(spec(picture, values)), { renderer: 'none' })
  return `${await view.toSVG()}\n`
}

function spec({ title, x, y }: Picture, values: (Point & { line: string })[]): Spec {
  const point = {
    x: { scale: 'x', field: 'n' },
    y: { scale: 'y', field: 'value' },
    stroke: { scale: 'color', field: 'line' },
  }
  const axis = { grid: true, gridColor: '#ddd', domainColor: '#888', tickColor: '#888' }
  return {
    width: 480,
    height: 300,
    padding: 8,
    // Readers with a dark page, too.
    background: 'white',
    title,
    data: [{ name: 'results', values }],
    scales: [
      {
        name: 'x',
        type: 'log',
        base: 2,
        range: 'width',
        domain: { data: 'results', field: 'n' },
      },
      {
        name: 'y',
        type: 'log',
        range: 'height',
        nice: true,
        domain: { data: 'results', field: 'value' },
      },
      {
        name: 'color',
        type: 'ordinal',
        range: { scheme: 'tableau10' },
        domain: { data: 'results', field: 'line' },
      },
    ],
    axes: [
      {
        ...axis,
        orient: 'bottom',
        scale: 'x',
        title: x,
        values: [...new Set(values.map((v) => v.n))],
      },
      { ...axis, orient: 'left', scale: 'y', title: y, format: '~s', tickCount: 8 },
    ],
    legends: [{ stroke: 'color', symbolType: 'stroke', labelLimit: 0 }],
    marks: [
      {
        type: 'group',
        from: { facet: { name: 'series', data: 'results', groupby: 'line' } },
        marks: [
          {
            type: 'line',
            from: { data: 'series' },
            encode: { enter: { ...point, strokeWidth: { value: 2 } } },
          },
          {
            type: 'symbol',
            from: { data: 'series' },
            encode: { enter: { ...point, fill: { value: 'white' }, size: { value: 36 } } },
          },
        ],
      },
    ],
  }
}
